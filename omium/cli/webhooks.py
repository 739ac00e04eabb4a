"""``webhooks``: who is told when executions stop, and what became of that. Over HTTP, with an
admin key, for that key's tenant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
import typer

from omium.cli.options import Address, AsJson, DataDir
from omium.cli.places import client_at
from omium.cli.terminal import out, out_json, say, table
from omium.cli.wording import duration_text, time_text
from omium.errors import InputError, Unavailable
from omium.webhooks.records import EVENTS, DeliveryState

if TYPE_CHECKING:
    # Half a second of imports, for these few commands.
    from omium.client import Delivery, Webhook

STATES: tuple[DeliveryState, ...] = get_args(DeliveryState)

WebhookId = Annotated[
    str, typer.Argument(metavar="ID", help="The webhook's id.", show_default=False)
]


def create_webhook(
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="Where messages are posted to.", show_default=False),
    ],
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--event",
            metavar="EVENT",
            help=f"What it is told of: {', '.join(EVENTS)}. May be repeated. Default: all.",
            autocompletion=lambda incomplete: [e for e in EVENTS if e.startswith(incomplete)],
            show_default=False,
        ),
    ] = None,
    description: Annotated[
        str, typer.Option("--description", metavar="TEXT", help="Words of your own.")
    ] = "",
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Have a URL told of executions, and print the secret that its messages are signed with.

    The secret is shown this once.

    Examples:

      omium webhooks create https://example.com/hooks/omium
      omium webhooks create https://example.com/failed --event execution.failed
    """
    for event in events or ():
        if event not in EVENTS:
            raise InputError(f"--event {event!r}: expected one of {', '.join(EVENTS)}")
    with client_at(data_dir, address) as client:
        made = client.create_webhook(url, events or (), description=description)
    _tell_secret(made, as_json=as_json)


def list_webhooks(
    address: Address = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List webhooks by id, without their secrets.

    Examples:

      omium webhooks list
    """
    with client_at(data_dir, address) as client:
        webhooks = list(client.webhooks())
    if as_json:
        out_json([_public(webhook) for webhook in webhooks])
    elif not webhooks:
        out("no webhooks")
    else:
        table(
            ("WEBHOOK", "CREATED", "EVENTS", "URL"),
            [(w.id, time_text(w.created_ms), _events(w), w.url) for w in webhooks],
        )


def show_webhook(
    webhook_id: WebhookId,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a webhook, without its secret.

    Examples:

      omium webhooks show wh_4fj2x7qa5mzk3b6c
    """
    with client_at(data_dir, address) as client:
        webhook = client.webhook(webhook_id)
    if as_json:
        out_json(_public(webhook))
        return
    out(f"webhook      {webhook.id}")
    out(f"url          {webhook.url}")
    out(f"events       {', '.join(webhook.events)}")
    out(f"created      {time_text(webhook.created_ms)}")
    if webhook.description:
        out(f"description  {webhook.description}")


def delete_webhook(
    webhook_id: WebhookId,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Delete a webhook, its log, and what it was still to be told.

    Examples:

      omium webhooks delete wh_4fj2x7qa5mzk3b6c
    """
    with client_at(data_dir, address) as client:
        webhook = client.delete_webhook(webhook_id)
    if as_json:
        out_json(_public(webhook))
    else:
        out(f"{webhook.id} is deleted")


def rotate_webhook(
    webhook_id: WebhookId,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give a webhook a new secret, and print it. It is shown this once.

    For a day messages are signed with the old one as well.

    Examples:

      omium webhooks rotate wh_4fj2x7qa5mzk3b6c
    """
    with client_at(data_dir, address) as client:
        webhook = client.rotate_webhook(webhook_id)
    _tell_secret(webhook, as_json=as_json)


def test_webhook(
    webhook_id: WebhookId,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Send a webhook a trial message.

    Examples:

      omium webhooks test wh_4fj2x7qa5mzk3b6c
      omium webhooks deliveries wh_4fj2x7qa5mzk3b6c
    """
    with client_at(data_dir, address) as client:
        delivery = client.test_webhook(webhook_id)
    _tell_sent(delivery, as_json=as_json)


def list_deliveries(
    webhook_id: WebhookId,
    states: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help=f"Only these: {', '.join(STATES)}. May be repeated.",
            autocompletion=lambda incomplete: [s for s in STATES if s.startswith(incomplete)],
            show_default=False,
        ),
    ] = None,
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List what was sent to a webhook, or is to be sent again: the delivery log.

    Examples:

      omium webhooks deliveries wh_4fj2x7qa5mzk3b6c
      omium webhooks deliveries wh_4fj2x7qa5mzk3b6c --state given_up --json
    """
    for state in states or ():
        if state not in STATES:
            raise InputError(f"--state {state!r}: expected one of {', '.join(STATES)}")
    with client_at(data_dir, address) as client:
        found = [d for d in client.deliveries(webhook_id) if not states or d.state in states]
    if as_json:
        out_json([msgspec.to_builtins(delivery) for delivery in found])
    elif not found:
        out("no deliveries")
    else:
        table(
            ("DELIVERY", "STATE", "TRIES", "LAST", "TOOK", "NEXT", "EVENT", "OUTCOME"),
            [_row(delivery) for delivery in found],
        )


def redeliver(
    webhook_id: WebhookId,
    delivery_id: Annotated[
        str,
        typer.Argument(metavar="DELIVERY", help="The message's id.", show_default=False),
    ],
    address: Address = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Send a message once more, under the same id, with all tries before it.

    Examples:

      omium webhooks redeliver wh_4fj2x7qa5mzk3b6c ex_0kq3c8m0v1f2r4t6y@9
    """
    with client_at(data_dir, address) as client:
        delivery = client.redeliver(webhook_id, delivery_id)
    _tell_sent(delivery, as_json=as_json)


def _tell_secret(webhook: Webhook, *, as_json: bool) -> None:
    if webhook.secret is None:
        raise Unavailable(
            f"webhook {webhook.id} has a new secret, but the answer that had it was lost: get "
            f"another with `omium webhooks rotate {webhook.id}`"
        )
    if as_json:
        out_json(msgspec.to_builtins(webhook))
        return
    out(webhook.secret)
    told = _events(webhook)
    say(f"webhook {webhook.id} is told of {told}; keep the secret, it is not shown again")


def _tell_sent(delivery: Delivery, *, as_json: bool) -> None:
    if as_json:
        out_json(msgspec.to_builtins(delivery))
    else:
        out(f"{delivery.id} is on its way to {delivery.webhook}")


def _row(delivery: Delivery) -> tuple[str, ...]:
    took_ms, tried_ms, next_ms = delivery.took_ms, delivery.tried_ms, delivery.next_ms
    answered = str(delivery.status) if delivery.status is not None else ""
    return (
        delivery.id,
        delivery.state,
        str(delivery.attempts),
        time_text(tried_ms) if tried_ms is not None else "",
        duration_text(took_ms / 1000) if took_ms is not None else "",
        time_text(next_ms) if next_ms is not None else "",
        delivery.type,
        delivery.error or answered,
    )


def _events(webhook: Webhook) -> str:
    return ",".join(event.removeprefix("execution.") for event in webhook.events)


def _public(webhook: Webhook) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(webhook)
    del shown["secret"]
    return shown
