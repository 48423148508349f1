package atrest

// #include <atrest.h>
import "C"

import (
	"errors"
	"io"
	"sync"
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
	return volume.data.readAt(volume, p, off)
}

// WriteAt writes at any byte, as io.WriterAt has it: beyond the end of the volume it fails with OutOfBounds, after it has written
// what is before. A crash may leave a sector of which a part is written old or new.
func (volume *Volume) WriteAt(p []byte, off int64) (int, error) {
	n, err := volume.data.writeAt(volume, p, off)
	if err == nil {
		err = volume.open() // also for a call that had nothing to do
	}
	return n, err
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

// open says whether the volume is open.
func (volume *Volume) open() error {
	return volume.use(func(*C.atrest_volume) C.atrest_status { return C.ATREST_OK })
}

// What reads and writes whole sectors only.
type sectorIO interface {
	read(sectors []byte, off int64) error
	write(sectors []byte, off int64) error
}

// anyByte makes of whole sectors what can be read and written at any byte.
type anyByte struct {
	// Held alone while the size of a sector changes.
	layout sync.RWMutex
	// Keeps a write to a part of a sector, which reads the sector first, apart from all other writes.
	sectors sync.RWMutex
	unit    int64
	size    int64
}

func (data *anyByte) readAt(of sectorIO, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errOffset
	}
	data.layout.RLock()
	defer data.layout.RUnlock()
	inside := data.inside(p, off)
	for done := 0; done < len(inside); {
		piece, whole := data.piece(inside[done:], off+int64(done))
		var err error
		if whole {
			err = of.read(piece, off+int64(done))
		} else {
			sector, first, skip := data.around(off + int64(done))
			if err = of.read(sector, first); err == nil {
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

func (data *anyByte) writeAt(of sectorIO, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errOffset
	}
	data.layout.RLock()
	defer data.layout.RUnlock()
	inside := data.inside(p, off)
	if _, whole := data.piece(inside, off); whole && int64(len(inside))%data.unit == 0 {
		data.sectors.RLock()
		defer data.sectors.RUnlock()
	} else {
		data.sectors.Lock()
		defer data.sectors.Unlock()
	}
	for done := 0; done < len(inside); {
		piece, whole := data.piece(inside[done:], off+int64(done))
		var err error
		if whole {
			err = of.write(piece, off+int64(done))
		} else {
			sector, first, skip := data.around(off + int64(done))
			if err = of.read(sector, first); err == nil {
				copy(sector[skip:], piece)
				err = of.write(sector, first)
			}
		}
		if err != nil {
			return done, err
		}
		done += len(piece)
	}
	if len(inside) < len(p) {
		return len(inside), &Error{OutOfBounds, "the data that is to be written goes beyond the end"}
	}
	return len(p), nil
}

// inside is the part of a run that is not beyond the end.
func (data *anyByte) inside(p []byte, off int64) []byte {
	if off >= data.size {
		return nil
	}
	if left := data.size - off; int64(len(p)) > left {
		return p[:left]
	}
	return p
}

// piece is what can be read or written at once: whole sectors, or a part of one.
func (data *anyByte) piece(p []byte, off int64) (piece []byte, whole bool) {
	skip, length := off%data.unit, int64(len(p))
	if skip == 0 && length >= data.unit {
		return p[:length/data.unit*data.unit], true
	}
	if left := data.unit - skip; length > left {
		return p[:left], false
	}
	return p, len(p) == 0
}

// around is room for the sector in which a byte is, its offset, and what of it is before the byte.
func (data *anyByte) around(off int64) (sector []byte, first, skip int64) {
	skip = off % data.unit
	return make([]byte, data.unit), off - skip, skip
}
