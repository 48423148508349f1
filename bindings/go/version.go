package atrest

// #include <atrest.h>
import "C"

// Version is the version of the library.
func Version() string { return C.GoString(C.atrest_version()) }
