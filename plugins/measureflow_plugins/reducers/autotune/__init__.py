"""Which reducer a sum is given to under `reducer = "auto"`, by what each was measured to cost."""
