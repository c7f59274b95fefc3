"""The parts of the simulated model, in the order it uses them.

`dialogue` reads the conversation, `asks` what each clause of it wants, `profiles` what each tool offers; `choose` pairs the
two, and `arguments` fills schemas with `candidates` among the `words`. `results` tells what tools returned, `extract` finds
the sentences that answer, `answer` puts the reply together. `language` and `verbs` are what all of them know of English and
Chinese.
"""

__all__: list[str] = []
