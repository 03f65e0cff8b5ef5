"""Measurements: our server beside Postfix + Dovecot, on the same machine in the same run."""
