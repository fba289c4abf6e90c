"""The contenders: each the smallest app that its framework's documentation would lead to.

Every module serves what its framework can of two routes. `/echo` answers
`{"type": "echo", "payload": …}` with the same. `/room` puts each connection into one room, greets
it with `{"type": "joined"}`, and sends `{"type": "said", "payload": …}` to all for
`{"type": "say", "payload": …}` of any.
"""
