package atrest

// #include <atrest.h>
import "C"

import (
	"errors"
	"runtime"
)

// A Status says what kind of failure an error is. It is an error itself, for errors.Is:
//
//	if errors.Is(err, atrest.WrongPassphrase) { ... }
type Status uint32

// The kinds that programs act upon most. The header atrest.h has them all, and says what each means.
const (
	InvalidOption     = Status(C.ATREST_ERR_INVALID_OPTION)
	InvalidName       = Status(C.ATREST_ERR_INVALID_NAME)
	KeyExhausted      = Status(C.ATREST_ERR_KEY_EXHAUSTED)
	ContextMismatch   = Status(C.ATREST_ERR_CONTEXT_MISMATCH)
	NotThisVault      = Status(C.ATREST_ERR_NOT_THIS_VAULT)
	NoSuchKey         = Status(C.ATREST_ERR_NO_SUCH_KEY)
	KeyExists         = Status(C.ATREST_ERR_KEY_EXISTS)
	WrongPassphrase   = Status(C.ATREST_ERR_WRONG_PASSPHRASE)
	DamagedVault      = Status(C.ATREST_ERR_DAMAGED_VAULT)
	VaultFailed       = Status(C.ATREST_ERR_VAULT)
	KeyDisabled       = Status(C.ATREST_ERR_KEY_DISABLED)
	KeyDeleted        = Status(C.ATREST_ERR_KEY_DELETED)
	KeyExpired        = Status(C.ATREST_ERR_KEY_EXPIRED)
	KeyNotYetValid    = Status(C.ATREST_ERR_KEY_NOT_YET_VALID)
	AccessDenied      = Status(C.ATREST_ERR_ACCESS_DENIED)
	OtherDek          = Status(C.ATREST_ERR_OTHER_DEK)
	NotLuks           = Status(C.ATREST_ERR_NOT_LUKS)
	InvalidHeader     = Status(C.ATREST_ERR_INVALID_HEADER)
	TamperedHeader    = Status(C.ATREST_ERR_TAMPERED_HEADER)
	DeviceTooSmall    = Status(C.ATREST_ERR_DEVICE_TOO_SMALL)
	DeviceNotBlank    = Status(C.ATREST_ERR_DEVICE_NOT_BLANK)
	OutOfBounds       = Status(C.ATREST_ERR_OUT_OF_BOUNDS)
	ReadOnly          = Status(C.ATREST_ERR_READ_ONLY)
	NoSuchProtector   = Status(C.ATREST_ERR_NO_SUCH_PROTECTOR)
	LastProtector     = Status(C.ATREST_ERR_LAST_PROTECTOR)
	PartialSector     = Status(C.ATREST_ERR_PARTIAL_SECTOR)
	SectorNumber      = Status(C.ATREST_ERR_SECTOR_NUMBER)
	SectorOverflow    = Status(C.ATREST_ERR_SECTOR_OVERFLOW)
	UnwrapFailed      = Status(C.ATREST_ERR_UNWRAP_FAILED)
	InvalidEnvelope   = Status(C.ATREST_ERR_INVALID_ENVELOPE)
	OtherHeader       = Status(C.ATREST_ERR_OTHER_HEADER)
	UnsupportedHeader = Status(C.ATREST_ERR_UNSUPPORTED_HEADER)
	NoRoom            = Status(C.ATREST_ERR_NO_ROOM)
	IO                = Status(C.ATREST_ERR_IO)
	Busy              = Status(C.ATREST_ERR_BUSY)
	NotFound          = Status(C.ATREST_ERR_NOT_FOUND)
	AlreadyExists     = Status(C.ATREST_ERR_ALREADY_EXISTS)
)

// ErrClosed is the error of a vault or volume that was closed.
var ErrClosed = errors.New("atrest: it is closed")

// Error gives the name of the status, such as ATREST_ERR_WRONG_PASSPHRASE.
func (status Status) Error() string {
	return C.GoString(C.atrest_status_name(C.atrest_status(status)))
}

// An Error is a call that failed: its status, and what the library says of it.
type Error struct {
	Status  Status
	Message string
}

func (err *Error) Error() string { return "atrest: " + err.Message }

// Unwrap gives the status.
func (err *Error) Unwrap() error { return err.Status }

// call checks the status of a function. The message belongs to the thread, which a goroutine doesn't keep by itself.
func call(function func() C.atrest_status) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if status := function(); status != C.ATREST_OK {
		return &Error{Status(status), C.GoString(C.atrest_last_error_message())}
	}
	return nil
}
