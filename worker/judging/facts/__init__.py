"""What is known of models and libraries without loading either, as tables.

What is known of an accelerator's package stands in the accelerator's own file.
"""
