# Who publishes the packages, and where: the one place to change, before they are made for others. Bash sources it.
#
# The project has no address yet. These stand for it: both are under names that nobody can register (RFC 2606), so that what is
# sent or fetched by mistake reaches nobody. A variable of the environment goes before.

# The maintainer in Debian's packages, as `Name <address>`.
maintainer=${ATREST_MAINTAINER:-The atrest project <atrest@example.invalid>}

# The path of the Go module, which programs import it by. `packages/go` writes it into the module.
go_module=${ATREST_GO_MODULE:-example.com/atrest}
