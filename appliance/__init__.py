"""Arhivar: a self-hosted e-Factura archive and approval portal for accounting firms."""

__version__ = "0.1.0"
