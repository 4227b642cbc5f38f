"""Arhivar: a self-hosted e-Factura archive and approval portal for accounting firms."""
