// Reads the first sectors of the volume that examples/volume.c makes: go run . FOLDER
package main

import (
	"fmt"
	"log"
	"os"
	"strings"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) > 2 || (len(os.Args) == 2 && strings.HasPrefix(os.Args[1], "-")) {
		fmt.Fprintln(os.Stderr, "usage: go run . [FOLDER], with what examples/volume.c made there")
		if len(os.Args) == 2 && os.Args[1] == "--help" {
			return
		}
		os.Exit(2)
	}
	folder := "."
	if len(os.Args) == 2 {
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
