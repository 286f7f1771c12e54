"""Measures, laws and systems that components are tried on."""
