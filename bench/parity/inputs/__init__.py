"""On what an artefact is compared: probes, and how they stand in batches."""
