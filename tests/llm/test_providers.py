from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import SecretStr

from omium.errors import ConfigError, NotFound
from omium.llm.catalogue import SMOLLM2_135M_INSTRUCT, embedded_model
from omium.llm.providers import LocalRoute, ModelRoute, Provider, openai_provider, resolve

KEY = SecretStr("sk-secret")
PROVIDERS = {
    "openai": openai_provider(api_key=KEY),
    "house": Provider(name="house", base_url="http://10.0.0.5:8000/v1"),
    "paid": Provider(name="paid", base_url="https://paid.example/v1", api_key_env="PAID_KEY"),
}


def test_a_catalogue_name_is_a_local_route() -> None:
    route = resolve("local/smollm2-135m-instruct", providers={})
    assert route == LocalRoute(model="smollm2-135m-instruct", source=SMOLLM2_135M_INSTRUCT)
    assert route.name == "local/smollm2-135m-instruct"


@pytest.mark.parametrize("path", ["models/x.gguf", "/data/x.GGUF", "./x.gguf"])
def test_a_path_is_a_local_route(path: str) -> None:
    assert resolve(f"local/{path}", providers={}) == LocalRoute(model=path, source=Path(path))


def test_a_configured_local_model_goes_before_the_catalogue() -> None:
    own = {"smollm2-135m-instruct": Path("/data/own.gguf")}
    route = resolve("local/smollm2-135m-instruct", providers={}, local_models=own)
    assert isinstance(route, LocalRoute)
    assert route.source == Path("/data/own.gguf")


def test_a_served_local_route_keeps_its_name() -> None:
    route = resolve("local/x.gguf", providers={})
    assert isinstance(route, LocalRoute)
    served = route.served_by(Provider(name="local", base_url="http://127.0.0.1:1/v1"))
    assert served.name == route.name


def test_a_model_name_may_hold_slashes() -> None:
    route = resolve("house/org/model:7b", providers=PROVIDERS)
    assert isinstance(route, ModelRoute)
    assert (route.provider.name, route.model) == ("house", "org/model:7b")
    assert route.name == "house/org/model:7b"


def test_openai_has_its_own_address_unless_told() -> None:
    assert PROVIDERS["openai"].base_url == "https://api.openai.com/v1"
    other = openai_provider(api_key=KEY, base_url="http://127.0.0.1:9/v1")
    assert other.base_url == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("key", [None, SecretStr(""), SecretStr("  ")])
@pytest.mark.parametrize("given", [True, False])
def test_openai_without_a_key_names_the_variable(key: SecretStr | None, given: bool) -> None:
    providers = {"openai": openai_provider(api_key=key)} if given else {}
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        resolve("openai/gpt-5", providers=providers)


def test_a_named_provider_without_its_key_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="PAID_KEY"):
        resolve("paid/m", providers=PROVIDERS)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hause/m", "did you mean 'house'"),
        ("nobody/m", "there is house, local, openai, paid"),
        ("smollm2-135m-instruct", "did you mean 'local/smollm2-135m-instruct'"),
        ("gpt-5", "providers: house, local, openai, paid"),
        ("", "provider/model"),
        ("openai/", "provider/model"),
        ("/m", "provider/model"),
        ("local/smollm2-135m", "did you mean 'smollm2-135m-instruct'"),
        ("local/x.bin", "path of a .gguf file"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_there_is(name: str, says: str) -> None:
    with pytest.raises(NotFound) as caught:
        resolve(name, providers=PROVIDERS)
    assert says in str(caught.value)


def test_keys_and_headers_stay_out_of_sight() -> None:
    provider = Provider(
        name="p", base_url="http://h/v1", api_key=KEY, headers={"x-token": "hidden"}
    )
    assert "sk-secret" not in repr(provider)
    assert "hidden" not in repr(provider)
    assert pickle.loads(pickle.dumps(provider)) == provider


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "ftp://h/v1", "http://", "http://h:x/v1", "http://h:99999/v1"]
)
def test_a_base_url_must_be_one(url: str) -> None:
    with pytest.raises(ConfigError, match="base URL of provider 'p'"):
        Provider(name="p", base_url=url)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_time_out_must_be_positive(timeout_s: float) -> None:
    with pytest.raises(ConfigError, match="above 0 s"):
        Provider(name="p", base_url="http://h/v1", timeout_s=timeout_s)


def test_an_unknown_embedded_model_names_the_known() -> None:
    with pytest.raises(NotFound, match="smollm2-135m-instruct"):
        embedded_model("gpt-5")
