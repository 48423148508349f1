module example.com/atrest

go 1.19
