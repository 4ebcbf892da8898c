"""HTTP to one server: pooled connections, retries, and a limit on the requests in flight that adapts to the server."""
