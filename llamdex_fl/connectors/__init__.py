"""What stands between a question, an expert and the LLM, and how it is trained from public schemas alone.

Here: ``questions`` (made-up questions about made-up records), ``reader`` (a question's text to an expert's input),
``injector`` (an expert's output to the LLM's input space), ``numbers`` (numbers in running text). Not here: private
records, experts, the assembly that joins the parts.
"""

__all__: list[str] = []
