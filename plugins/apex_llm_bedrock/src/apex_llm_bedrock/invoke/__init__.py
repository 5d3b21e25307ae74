"""Text by InvokeModel, for models that Converse does not serve. Pure: bodies, answers and pieces of streams, no I/O.

==================================  ==================================================================================
`text`                              the entrance: a body for a request, the result of an answer, the pieces of a stream
`streaming`                         the frames of a stream
`forms`, `form`                     all forms of bodies by name, and what they have in common
`claude`                            Claude's Messages, made of what Converse would be sent: one set of rules for both
`claude_blocks`, `claude_stream`    its content blocks and its events
`messages`, `message_wire`          chat completions, from the same turns
`tagged_reasoning`                  reasoning that stands between tags in their text
`prompt_forms`, `prompts`           bodies with one prompt in them, and conversations as one prompt
==================================  ==================================================================================
"""
