"""The embedded models' conversations: a problem, then the attempts at it, each with its end."""

from __future__ import annotations

CHAT_TEMPLATE = (
    "{{- bos_token -}}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}{{- message.content + '\n' -}}"
    "{%- elif message.role == 'assistant' -%}{{- message.content + eos_token -}}"
    "{%- else -%}{{- raise_exception('allowed roles are user and assistant') -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
)
"""Renders the text of `computewise.models.embedded.context_tokens`."""
