package atrest

// #include <atrest.h>
import "C"

import (
	"errors"
	"io"
	"unsafe"
)

var (
	_ io.ReaderAt = (*Volume)(nil)
	_ io.WriterAt = (*Volume)(nil)
	_ io.Closer   = (*Volume)(nil)
)

var errOffset = errors.New("atrest: a negative offset")

// ReadAt reads at any byte, as io.ReaderAt has it: at the end of the volume it returns what there is, with io.EOF.
func (volume *Volume) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errOffset
	}
	inside := volume.inside(p, off)
	for done := 0; done < len(inside); {
		piece, whole := volume.piece(inside[done:], off+int64(done))
		var err error
		if whole {
			err = volume.read(piece, off+int64(done))
		} else {
			sector, first, skip := volume.around(off + int64(done))
			if err = volume.read(sector, first); err == nil {
				copy(piece, sector[skip:])
			}
		}
		if err != nil {
			return done, err
		}
		done += len(piece)
	}
	if len(inside) < len(p) {
		return len(inside), io.EOF
	}
	return len(p), nil
}

// WriteAt writes at any byte, as io.WriterAt has it: beyond the end of the volume it fails with OutOfBounds, after it has written
// what is before. A crash may leave a sector of which a part is written old or new.
func (volume *Volume) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errOffset
	}
	inside := volume.inside(p, off)
	if _, whole := volume.piece(inside, off); whole && int64(len(inside))%volume.unit == 0 {
		volume.sectors.RLock()
		defer volume.sectors.RUnlock()
	} else {
		volume.sectors.Lock()
		defer volume.sectors.Unlock()
	}
	for done := 0; done < len(inside); {
		piece, whole := volume.piece(inside[done:], off+int64(done))
		var err error
		if whole {
			err = volume.write(piece, off+int64(done))
		} else {
			sector, first, skip := volume.around(off + int64(done))
			if err = volume.read(sector, first); err == nil {
				copy(sector[skip:], piece)
				err = volume.write(sector, first)
			}
		}
		if err != nil {
			return done, err
		}
		done += len(piece)
	}
	if len(inside) < len(p) {
		return len(inside), &Error{OutOfBounds, "the volume ends before the data that is to be written"}
	}
	return len(p), volume.open()
}

// inside is the part of a run that is in the volume.
func (volume *Volume) inside(p []byte, off int64) []byte {
	if off >= volume.size {
		return nil
	}
	if left := volume.size - off; int64(len(p)) > left {
		return p[:left]
	}
	return p
}

// piece is what can be read or written at once: whole sectors, or a part of one.
func (volume *Volume) piece(p []byte, off int64) (piece []byte, whole bool) {
	skip, length := off%volume.unit, int64(len(p))
	if skip == 0 && length >= volume.unit {
		return p[:length/volume.unit*volume.unit], true
	}
	if left := volume.unit - skip; length > left {
		return p[:left], false
	}
	return p, len(p) == 0
}

// around is room for the sector in which a byte is, its offset, and what of it is before the byte.
func (volume *Volume) around(off int64) (sector []byte, first, skip int64) {
	skip = off % volume.unit
	return make([]byte, volume.unit), off - skip, skip
}

func (volume *Volume) read(sectors []byte, off int64) error {
	return volume.use(func(handle *C.atrest_volume) C.atrest_status {
		return C.atrest_volume_read_at(handle, C.uint64_t(off), unsafe.Pointer(&sectors[0]), C.size_t(len(sectors)))
	})
}

func (volume *Volume) write(sectors []byte, off int64) error {
	return volume.use(func(handle *C.atrest_volume) C.atrest_status {
		return C.atrest_volume_write_at(handle, C.uint64_t(off), unsafe.Pointer(&sectors[0]), C.size_t(len(sectors)))
	})
}

// open says whether the volume is open, also for a call that has nothing to do.
func (volume *Volume) open() error {
	return volume.use(func(*C.atrest_volume) C.atrest_status { return C.ATREST_OK })
}
