package atrest

// #include <stdlib.h>
// #include <atrest.h>
// #include "secret.h"
//
// static atrest_status go_begin_reencryption(atrest_volume *volume, const go_way *ways, size_t count, uint32_t algorithm,
//     uint32_t sector_size, uint32_t resilience) {
//     atrest_reencrypt_options options = ATREST_REENCRYPT_OPTIONS_INIT;
//     atrest_protector *protectors = calloc(count + 1, sizeof *protectors);
//     const atrest_protector **pointers = calloc(count + 1, sizeof *pointers);
//     atrest_status status = ATREST_ERR_NO_MEMORY;
//     if (protectors && pointers) {
//         for (size_t i = 0; i < count; i++) {
//             protectors[i] = go_protector(ways[i]);
//             pointers[i] = &protectors[i];
//         }
//         options.dek_algorithm = algorithm;
//         options.sector_size = sector_size;
//         options.resilience = resilience;
//         status = atrest_volume_begin_reencryption(volume, pointers, count, &options);
//     }
//     free(protectors), free(pointers);
//     return status;
// }
// static atrest_status go_begin_encryption(atrest_device *device, go_way by, uint32_t sector_size, const void *context,
//     size_t context_len, int bound, uint64_t free_at_end, atrest_volume **volume) {
//     atrest_protector protector = go_protector(by);
//     atrest_format_options options = ATREST_FORMAT_OPTIONS_INIT;
//     options.sector_size = sector_size;
//     options.context = bound ? context : NULL;
//     options.context_len = context_len;
//     return atrest_volume_begin_encryption(device, &protector, &options, free_at_end, volume);
// }
// static atrest_reencryption_progress go_progress(void) {
//     atrest_reencryption_progress progress = ATREST_REENCRYPTION_PROGRESS_INIT;
//     return progress;
// }
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// ReencryptOptions are those of a re-encryption; their zero values are right for most.
type ReencryptOptions struct {
	Algorithm  Algorithm // of the new key; 0 is the one before
	SectorSize uint32    // in bytes; 0 is the one before
	// Recovers from a crash by a copy of what was there, with twice the writes. Otherwise by checksums, for which the device must
	// write a sector as a whole or not at all, as disks and file systems do.
	Journal bool
}

// Progress says how far a re-encryption is.
type Progress struct {
	UnderWay    bool          // whether there is one that isn't finished
	Done, Total uint64        // in bytes
	Rate        uint64        // bytes a second, of the steps of this process
	TimeLeft    time.Duration // at this rate; 0 if it isn't known
}

// BeginReencryption begins to move the data to a new key. The protectors open the new key, and from now on the volume: the ones before
// do not. ReencryptStep or Reencrypt rewrite the data; meanwhile it is read and written as ever. If the process is killed, Open opens the
// volume, and the steps go on. Calls that read or write wait until this has returned.
func (volume *Volume) BeginReencryption(protectors []Way, options ReencryptOptions) error {
	resilience := C.uint32_t(C.ATREST_RESILIENCE_CHECKSUM)
	if options.Journal {
		resilience = C.ATREST_RESILIENCE_JOURNAL
	}
	volume.data.layout.Lock()
	defer volume.data.layout.Unlock()
	return waysInC(protectors, nil, map[*Vault]bool{}, func(ways []C.go_way) error {
		ways = append(ways, C.go_way{}) // so that there is a first one
		err := volume.use(func(handle *C.atrest_volume) C.atrest_status {
			return C.go_begin_reencryption(handle, &ways[0], C.size_t(len(ways)-1), C.uint32_t(options.Algorithm),
				C.uint32_t(options.SectorSize), resilience)
		})
		if err != nil {
			return err
		}
		// From now on sectors are as large as the larger of both.
		var unit C.uint32_t
		err = volume.use(func(handle *C.atrest_volume) C.atrest_status { return C.atrest_volume_sector_size(handle, &unit) })
		if int64(unit) > volume.data.unit {
			volume.data.unit = int64(unit)
		}
		return err
	})
}

// waysInC lends ways to a function, in C's memory.
func waysInC(ways []Way, lent []C.go_way, held map[*Vault]bool, function func([]C.go_way) error) error {
	if len(ways) == 0 {
		return function(lent)
	}
	return ways[0].inCWith(held, func(by C.go_way) error { return waysInC(ways[1:], append(lent, by), held, function) })
}

// BeginEncryption begins to encrypt the plain data in a file or on a block device where it lies, and opens it as a volume. The data moves
// towards the end by the 16 MiB of the header, and freeAtEnd bytes at the end, at least twice as many, must hold nothing. Go on
// with ReencryptStep or Reencrypt. Until it is finished, Open needs HazmatAllowUnencrypted. If it is killed before it returns, call it
// again with the same arguments.
func BeginEncryption(path string, protector Way, options FormatOptions, freeAtEnd uint64) (*Volume, error) {
	return newVolume(path, protector, func(name *C.char, device **C.atrest_device) C.atrest_status {
		return C.atrest_device_open_file(name, 0, device)
	}, func(device *C.atrest_device, by C.go_way, handle **C.atrest_volume) C.atrest_status {
		context := some(options.Context)
		return C.go_begin_encryption(device, by, C.uint32_t(options.SectorSize), unsafe.Pointer(&context[0]),
			C.size_t(len(options.Context)), C.int(btoi(options.Context != nil)), C.uint64_t(freeAtEnd), handle)
	})
}

// ReencryptStep rewrites about so many bytes, at least one sector, in zones of up to 16 MiB. Others wait only for what is in the
// zone. Without a re-encryption nothing is done.
func (volume *Volume) ReencryptStep(budget uint64) (Progress, error) {
	return volume.progress(func(handle *C.atrest_volume, progress *C.atrest_reencryption_progress) C.atrest_status {
		return C.atrest_volume_reencrypt_step(handle, C.uint64_t(budget), progress)
	})
}

// Reencryption says how far the re-encryption of the volume is.
func (volume *Volume) Reencryption() (Progress, error) {
	return volume.progress(func(handle *C.atrest_volume, progress *C.atrest_reencryption_progress) C.atrest_status {
		return C.atrest_volume_reencryption(handle, progress)
	})
}

func (volume *Volume) progress(function func(*C.atrest_volume, *C.atrest_reencryption_progress) C.atrest_status) (Progress, error) {
	progress := C.go_progress()
	err := volume.use(func(handle *C.atrest_volume) C.atrest_status { return function(handle, &progress) })
	if err != nil {
		return Progress{}, err
	}
	return Progress{
		UnderWay: progress.under_way != 0,
		Done:     uint64(progress.done),
		Total:    uint64(progress.total),
		Rate:     uint64(progress.rate),
		TimeLeft: time.Duration(progress.time_left_ms) * time.Millisecond,
	}, nil
}

// Reencrypt takes all the steps that are left, and tells of each, if told isn't nil. When the context is done it stops between two
// steps with its error: a later call goes on.
func (volume *Volume) Reencrypt(ctx context.Context, told func(Progress)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		progress, err := volume.ReencryptStep(16 << 20)
		if err != nil {
			return err
		}
		if told != nil {
			told(progress)
		}
		if !progress.UnderWay {
			return nil
		}
	}
}
