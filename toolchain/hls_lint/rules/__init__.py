"""The rules, each with the sentence that it checks, and what finds where it is broken."""
