"""Webhooks: telling somebody else's server that an execution has stopped.

What is sent, to whom, signed how, tried when; and the sending of one request. When all that is
done, and what is kept of it, is the courier's business (``omium.actors.courier``).
"""
