// The border to Python: convert, release the GIL, call, wrap. selfie_io/_core.pyi mirrors it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cerrno>
#include <chrono>
#include <stdexcept>

#include "batch_decoder.h"
#include "bindings_gil.h"
#include "bindings_plan.h"
#include "decode_steps.h"

namespace py = pybind11;
using namespace selfie;
using namespace selfie::border;

namespace {

// A wait for a batch looks for Ctrl-C this often.
constexpr std::chrono::milliseconds kSignalInterval{200};

// Destroys without the GIL: closing files and joining workers may take long.
struct WithoutGil {
    template <class T>
    void operator()(T* object) const {
        if (PyGILState_Check()) {
            const ReleasedGil release;
            delete object;
        } else {
            delete object;
        }
    }
};

std::shared_ptr<RecordFiles> open_files(std::vector<std::string> paths, std::int64_t channels,
                                        std::int64_t height, std::int64_t width, std::uint32_t num_classes,
                                        const std::string& io) {
    const auto mode = choice<ReadMode>(
        "io", io, {{"mmap", ReadMode::kMmap}, {"pread", ReadMode::kPread}, {"direct", ReadMode::kDirect}});
    const ReleasedGil release;
    const RecordLayout layout = make_layout(channels, height, width);
    return {new RecordFiles(std::move(paths), layout, num_classes, mode), WithoutGil()};
}

py::tuple headers(const RecordFiles& files) {
    py::array_t<std::uint32_t> record_ids(static_cast<py::ssize_t>(files.size()));
    py::array_t<std::int64_t> labels(static_cast<py::ssize_t>(files.size()));
    std::uint32_t* ids = record_ids.mutable_data();
    std::int64_t* values = labels.mutable_data();
    {
        const ReleasedGil release;
        files.headers(ids, values, SignalPoll());
    }
    return py::make_tuple(record_ids, labels);
}

void expect_image_per_index(const char* name, const Pixels& pixels, const Indices& indices,
                            const RecordLayout& layout) {
    if (indices.ndim() == 1 &&
        static_cast<std::size_t>(pixels.size()) == indices.size() * layout.pixel_bytes())
        return;
    throw std::invalid_argument(std::string(name) + " must hold one image per index, got " +
                                std::to_string(pixels.size()) + " bytes for " +
                                std::to_string(indices.size()) + " indices");
}

void images(const RecordFiles& files, const Indices& indices, Pixels& out) {
    const RecordLayout& layout = files.layout();
    expect_image_per_index("out", out, indices, layout);
    const std::int64_t* wanted = indices.data();
    const auto count = static_cast<std::size_t>(indices.size());
    std::uint8_t* pixels = out.mutable_data();
    const ReleasedGil release;
    files.images(wanted, count, pixels, SignalPoll());
}

py::tuple gather(const RecordFiles& files, const Indices& indices, Pixels& out) {
    expect_image_per_index("out", out, indices, files.layout());
    const auto count = static_cast<std::size_t>(indices.size());
    py::array_t<std::int64_t> labels(indices.size()), record_ids(indices.size());
    const std::int64_t* wanted = indices.data();
    std::uint8_t* pixels = out.mutable_data();
    std::int64_t* label_values = labels.mutable_data();
    std::int64_t* id_values = record_ids.mutable_data();
    {
        const ReleasedGil release;
        gather_records(files, wanted, count, pixels, label_values, id_values);
    }
    return py::make_tuple(labels, record_ids);
}

EpochOrder make_order(const std::string& kind, std::uint64_t num_records, std::uint64_t seed,
                      std::uint64_t epoch, std::uint64_t global_batch_size, std::uint64_t block_records,
                      std::uint64_t window_records, const std::optional<Indices>& members,
                      const std::optional<Weights>& weight_totals) {
    EpochOrder order;
    order.kind = choice<OrderKind>("order", kind,
                                   {{"sequential", OrderKind::kSequential},
                                    {"permutation", OrderKind::kPermutation},
                                    {"independent", OrderKind::kIndependent},
                                    {"quasi", OrderKind::kQuasi}});
    order.num_records = num_records;
    order.seed = seed;
    order.epoch = epoch;
    order.global_batch_size = global_batch_size;
    order.block_records = block_records;
    order.window_records = window_records;
    const ReleasedGil release;
    order.check();  // select() divides by these sizes
    if (weight_totals) order.weigh({weight_totals->data(), weight_totals->data() + weight_totals->size()});
    if (members) order.select({members->data(), members->data() + members->size()});
    order.check();
    return order;
}

Indices order_indices(const EpochOrder& order, std::uint64_t start, std::uint64_t count) {
    if (start > order.length() || count > order.length() - start)
        throw std::out_of_range("positions must lie in 0.." + std::to_string(order.length()) + ", got " +
                                std::to_string(count) + " at " + std::to_string(start));
    Indices out(static_cast<py::ssize_t>(count));
    order.indices(start, count, out.mutable_data());
    return out;
}

py::tuple scale_and_shift(const PixelPlan& plan, const RecordFiles& files, std::uint64_t seed,
                          std::uint64_t epoch, const Indices& indices) {
    const py::ssize_t count = indices.size();
    const auto channels = static_cast<py::ssize_t>(plan.layout.channels);
    py::array_t<float> scale({count, channels}), shift({count, channels});
    const std::int64_t* wanted = indices.data();
    float* scales = scale.mutable_data();
    float* shifts = shift.mutable_data();
    {
        const ReleasedGil release;
        scales_and_shifts(files, plan, seed, epoch, wanted, static_cast<std::size_t>(count), scales, shifts);
    }
    return py::make_tuple(scale, shift);
}

py::dtype numpy_type(PixelType type) {
    switch (type) {
        case PixelType::kFloat32:
            return py::dtype("f4");
        case PixelType::kFloat16:
            return py::dtype("f2");
        case PixelType::kBfloat16:
            return py::dtype("u2");  // NumPy has no bfloat16: the caller reinterprets the bits
        case PixelType::kUint8:
            break;
    }
    return py::dtype("u1");
}

// Returns the batch's memory to the pool with the last array of this owner.
py::capsule make_owner(std::shared_ptr<std::uint8_t> memory) {
    using Memory = std::shared_ptr<std::uint8_t>;
    return py::capsule(new Memory(std::move(memory)), [](void* held) { delete static_cast<Memory*>(held); });
}

py::array image_array(const PixelPlan& plan, std::size_t images, const void* begin,
                      const py::capsule& owner) {
    const auto count = static_cast<py::ssize_t>(images);
    const auto channels = static_cast<py::ssize_t>(plan.layout.channels);
    const auto height = static_cast<py::ssize_t>(plan.augment.crop_height);
    const auto width = static_cast<py::ssize_t>(plan.augment.crop_width);
    py::array::ShapeContainer shape = {count, channels, height, width};
    if (plan.channels_last) shape = {count, height, width, channels};
    if (plan.views > 1) shape->insert(shape->begin(), static_cast<py::ssize_t>(plan.views));
    return py::array(numpy_type(plan.type), shape, begin, owner);
}

py::array decode(const PixelPlan& plan, BufferPool& pool, std::uint64_t seed, std::uint64_t epoch,
                 const Indices& indices, const Pixels& pixels) {
    const auto count = static_cast<std::size_t>(indices.size());
    expect_image_per_index("pixels", pixels, indices, plan.layout);
    const std::int64_t* wanted = indices.data();
    const std::uint8_t* from = pixels.data();
    std::shared_ptr<std::uint8_t> memory;
    {
        const ReleasedGil release;
        memory = decode_images(plan, pool, seed, epoch, wanted, count, from);
    }
    const void* begin = memory.get();
    return image_array(plan, count, begin, make_owner(std::move(memory)));
}

py::tuple wrap(const PixelPlan& plan, const Batch& batch) {
    const py::capsule owner = make_owner(batch.memory);
    const auto numbers = [&](std::int64_t* begin) {
        return py::array_t<std::int64_t>({static_cast<py::ssize_t>(batch.count)}, begin, owner);
    };
    return py::make_tuple(image_array(plan, batch.count, batch.images, owner), numbers(batch.labels),
                          numbers(batch.record_ids), numbers(batch.indices));
}

py::tuple next_batch(BatchDecoder& decoder) {
    for (;;) {
        std::optional<Batch> batch;
        {
            const ReleasedGil release;
            batch = decoder.next(kSignalInterval);
        }
        if (batch) return wrap(decoder.plan(), *batch);
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();  // Ctrl-C
    }
}

using DecoderHolder = std::unique_ptr<BatchDecoder, WithoutGil>;

DecoderHolder make_decoder(std::shared_ptr<RecordFiles> files, const PixelPlan& plan,
                           std::shared_ptr<BufferPool> pool, const std::optional<Indices>& labels,
                           int num_threads, int read_depth, bool read_blocks) {
    if (labels && static_cast<std::uint64_t>(labels->size()) != files->size())
        throw std::invalid_argument("labels must have one value per record (" +
                                    std::to_string(files->size()) + "), got " +
                                    std::to_string(labels->size()));
    const std::int64_t* values = labels ? labels->data() : nullptr;
    const ReleasedGil release;
    return DecoderHolder(new BatchDecoder(std::move(files), plan, std::move(pool), values, num_threads,
                                          {read_depth, read_blocks}));
}

}  // namespace

PYBIND11_MODULE(_core, m) {
    m.doc() = "Record files, epoch order and the fused decoder. Use it through selfie_io.";

    py::register_exception_translator([](std::exception_ptr pointer) {
        try {
            if (pointer) std::rethrow_exception(pointer);
        } catch (const FileError& error) {
            if (error.detail().empty()) {
                errno = error.code().value();
                PyErr_SetFromErrnoWithFilename(PyExc_OSError, error.path().c_str());
            } else {
                const auto path =
                    py::reinterpret_steal<py::object>(PyUnicode_DecodeFSDefault(error.path().c_str()));
                const py::tuple told = py::make_tuple(error.code().value(), error.detail(), path);
                PyErr_SetObject(PyExc_OSError, told.ptr());
            }
        }
    });

    py::module_::import("atexit").attr("register")(py::cpp_function(&ReleasedGil::exit));

    m.def("isa", [] { return pixel_kernel().isa; });

    py::class_<RecordFiles, std::shared_ptr<RecordFiles>>(m, "RecordFiles")
        .def(py::init(&open_files), py::kw_only(), py::arg("paths"), py::arg("channels"), py::arg("height"),
             py::arg("width"), py::arg("num_classes"), py::arg("io"))
        .def("__len__", &RecordFiles::size)
        .def_property_readonly("is_direct", &RecordFiles::is_direct)
        .def("check_places", &RecordFiles::check_places)
        .def("populate", &RecordFiles::populate, py::call_guard<ReleasedGil>())
        .def("headers", &headers)
        .def("images", &images, py::arg("indices"), py::arg("out").noconvert())
        .def("gather", &gather, py::arg("indices"), py::arg("out").noconvert());

    py::class_<EpochOrder>(m, "EpochOrder")
        .def(py::init(&make_order), py::kw_only(), py::arg("kind"), py::arg("num_records"), py::arg("seed"),
             py::arg("epoch"), py::arg("global_batch_size"), py::arg("block_records"),
             py::arg("window_records"), py::arg("members") = py::none(),
             py::arg("weight_totals") = py::none())
        .def("__len__", &EpochOrder::length)
        .def("indices", &order_indices, py::arg("start"), py::arg("count"));

    py::class_<PixelPlan>(m, "PixelPlan")
        .def(py::init(&make_plan))
        .def("draws", &draws, py::arg("seed"), py::arg("epoch"), py::arg("indices"), py::arg("view") = 0)
        .def("scale_and_shift", &scale_and_shift, py::arg("files"), py::arg("seed"), py::arg("epoch"),
             py::arg("indices"))
        .def("decode", &decode, py::arg("pool"), py::arg("seed"), py::arg("epoch"), py::arg("indices"),
             py::arg("pixels").noconvert());

    py::class_<BufferPool, std::shared_ptr<BufferPool>>(m, "BufferPool")
        .def(py::init([](const PixelPlan& plan, std::size_t batch_size, std::size_t spare_buffers) {
                 return std::make_shared<BufferPool>(batch_bytes(plan, batch_size), spare_buffers);
             }),
             py::kw_only(), py::arg("plan"), py::arg("batch_size"), py::arg("spare_buffers"));

    py::class_<BatchDecoder, DecoderHolder>(m, "BatchDecoder")
        // The labels' array stays alive as long as the decoder.
        .def(py::init(&make_decoder), py::kw_only(), py::arg("files"), py::arg("plan"), py::arg("pool"),
             py::arg("labels"), py::arg("num_threads"), py::arg("read_depth"), py::arg("read_blocks"),
             py::keep_alive<1, 5>())
        .def("submit", &BatchDecoder::submit, py::arg("order"), py::arg("start"), py::arg("count"),
             py::call_guard<ReleasedGil>())
        .def("next", &next_batch)
        .def("close", &BatchDecoder::close, py::call_guard<ReleasedGil>());
}
