package main

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
)

// Where examples/volume.c was compiled and run.
var folder = os.Getenv("FOLDER")

func TestGoroutinesShareAVolume(t *testing.T) {
	volume, err := Open(folder+"/disk.img", folder+"/keys.vault", "correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	defer volume.Close()
	all := make([]byte, 1<<20)
	if _, err := volume.ReadAt(all, 0); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for i := 0; i < 8; i++ {
		readers.Add(1)
		go func(part []byte, offset int) {
			defer readers.Done()
			found := make([]byte, len(part))
			if _, err := volume.ReadAt(found, int64(offset)); err != nil || !bytes.Equal(found, part) {
				t.Errorf("at %d: another content, %v", offset, err)
			}
			// Each with a message of its own, whatever the threads beneath.
			if _, err := volume.ReadAt(found, int64(offset+1)); !strings.Contains(err.Error(), "ATREST_ERR_MISALIGNED") {
				t.Errorf("at %d: %v", offset+1, err)
			}
		}(all[i<<17:(i+1)<<17], i<<17)
	}
	readers.Wait()
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	for _, wrong := range []struct{ disk, passphrase, status string }{
		{"disk.img", "wrong", "ATREST_ERR_WRONG_PASSPHRASE"},
		{"none.img", "correct horse battery staple", "ATREST_ERR_NOT_FOUND"},
		{"volume", "correct horse battery staple", "ATREST_ERR_NOT_LUKS"},
	} {
		volume, err := Open(folder+"/"+wrong.disk, folder+"/keys.vault", wrong.passphrase)
		if volume != nil || err == nil || !strings.HasPrefix(err.Error(), wrong.status+": ") {
			t.Errorf("%s: %v", wrong.disk, err)
		}
	}
}
