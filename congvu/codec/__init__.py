"""Pure words: bytes to values and values to bytes. No socket, no clock, no disk; how input was cut never matters."""
