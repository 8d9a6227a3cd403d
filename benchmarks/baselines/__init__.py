"""What the cascade is compared with: SaiT and STViT over the bundle's own weights, their costs, export and files."""
