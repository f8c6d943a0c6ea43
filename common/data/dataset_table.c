#include "data/data_impl.h"

const fq_data_reader *const fq_data_readers[] = {
    &fq_reader_fashion_mnist, &fq_reader_mnist,
    &fq_reader_emnist,        &fq_reader_cifar10,
    &fq_reader_cifar100,      &fq_reader_femnist,
    &fq_reader_leaf,          &fq_reader_npy,
    &fq_reader_synthetic,     NULL,
};
