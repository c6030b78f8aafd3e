"""Run files: sessions, parity, latency, memory, reports."""
