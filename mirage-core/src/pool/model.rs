//! The pool against a simple model, under random operations.
