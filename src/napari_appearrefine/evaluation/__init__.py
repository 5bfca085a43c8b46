"""Measuring masks against the truth: J, F, and the DAVIS-2017 protocol."""
