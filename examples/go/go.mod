module example/atrest

go 1.19
