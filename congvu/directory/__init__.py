"""Units, people, addresses, credentials: who exists, under which address, in which state."""
