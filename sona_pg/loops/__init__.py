"""When learning happens: with every batch (instant), from the ledger (background), and who decides (coordinator)."""
