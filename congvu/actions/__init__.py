"""What a person, an operator or the clock may do: rights, one transaction, audit."""
