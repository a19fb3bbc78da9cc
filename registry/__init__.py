"""What we remember about models: names, bundles, the ledger of promotions. Standard library only."""
