// Reads the first sectors of the volume that examples/volume.c makes: go run . FOLDER
package main

import (
	"fmt"
	"log"
	"os"
	"strings"
)

func main() {
	folder := "."
	if len(os.Args) > 1 {
		folder = os.Args[1]
	}
	volume, err := Open(folder+"/disk.img", folder+"/keys.vault", "correct horse battery staple")
	if err != nil {
		log.Fatal(err)
	}
	defer volume.Close()
	size, err := volume.Size()
	if err != nil {
		log.Fatal(err)
	}
	sectors := make([]byte, 4096)
	if _, err := volume.ReadAt(sectors, 0); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d bytes, of which the first are '%s'\n", size, strings.TrimRight(string(sectors), "\x00"))
}
