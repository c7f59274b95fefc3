"""The parts of the simulated model, in the order it uses them.

`dialogue` reads the conversation, `asks` what each clause of it wants, `profiles` what each tool offers; `choose` pairs the
two and `arguments` fills schemas with the `words` found; `results` reads what tools returned, `extract` finds the sentences
that answer, `phrases` says so. `language` is what all of them know of English and Chinese.
"""

__all__: list[str] = []
