"""`python -m sacvit_deploy`: the `sacvit` group, for launchers that want a module, such as torchrun."""

from sacvit_deploy.commands.group import main

main()
