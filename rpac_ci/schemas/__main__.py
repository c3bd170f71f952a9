"""Write the schemas beside this file."""

from rpac_ci.schemas import write

write()
