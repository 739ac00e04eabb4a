"""Language models: where they are, how to reach them, and the wire format that they speak.

Everything here speaks the OpenAI chat completions API. Nothing here retries, journals or
chooses between providers.
"""
