"""HTTP: the JSON API of the consoles. `server` runs it, `table` holds routes, `who` says who asks, `api` answers."""
