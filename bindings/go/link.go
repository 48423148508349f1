// Package atrest encrypts at rest: LUKS2 volumes, whose keys lie in vaults, without root or kernel modules.
//
// The library is in the package, as a static archive. A volume is an io.ReaderAt and an io.WriterAt that any number of
// goroutines may use at once.
package atrest

// #cgo CFLAGS: -I${SRCDIR}/lib
// #cgo linux,amd64 LDFLAGS: ${SRCDIR}/lib/linux_amd64/libatrest.a -lm -lpthread -ldl
// #cgo linux,arm64 LDFLAGS: ${SRCDIR}/lib/linux_arm64/libatrest.a -lm -lpthread -ldl
import "C"
