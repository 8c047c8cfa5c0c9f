"""Generated from protos/llamdex_fl/wire/v1 and committed; never edited by hand. Make it again with ``make proto``."""
