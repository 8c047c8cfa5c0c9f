"""The silo: trains an expert under differential privacy on records that stay here, and sends it sealed."""
