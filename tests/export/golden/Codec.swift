import Foundation
import OnnxRuntimeBindings // with the pod: onnxruntime_objc

/// Values as plain little-endian bytes, and their shape: [items, 64].
struct Items {
    let bytes: Data
    let shape: [Int]
}

/// What is wrong with a packet that the decoder refuses.
enum Fault: Int64 {
    case truncated = 1
    case magic = 2
    case version = 3
    case codec = 4
    case layout = 5
    case trailing = 6
    case checksum = 7
    case limit = 8
    case lanes = 9
    case body = 10

    var meaning: String {
        switch self {
        case .truncated: return "expected a whole packet, found its beginning: receive the rest"
        case .magic: return "expected a packet that starts with 4c 57, found other bytes: this is not a packet"
        case .version: return "expected packet version 1, found another: use a release that reads it"
        case .codec: return "expected a packet of this codec, found another codec's: decode it with that codec"
        case .layout: return "expected a layout that this codec uses, found another: ask for the packet again"
        case .trailing: return "expected nothing behind the packet, found bytes: split the packets first"
        case .checksum: return "expected the checksum in the packet, found another: ask for it again"
        case .limit: return "expected a packet within the codec's limits, found one that claims or costs more"
        case .lanes: return "expected every lane to end where encoding began, found another state: the encoder's tables differ or the packet was forged"
        case .body: return "expected words and escapes to be used exactly, found too many or too few: the encoder's tables differ or the packet was forged"
        }
    }
}

/// A packet was refused; `fault` is nil where its status is newer than this code.
struct PacketError: LocalizedError {
    let status: Int64
    var fault: Fault? { Fault(rawValue: status) }
    var errorDescription: String? { "status \(status): " + (fault?.meaning ?? "a status that is newer than this code: package the codec anew") }
}

final class Codec {
    private let encoder: ORTSession
    private let decoder: ORTSession

    init(folder: URL) throws {
        let environment = try ORTEnv(loggingLevel: .warning)
        func open(_ name: String) throws -> ORTSession {
            try ORTSession(env: environment, modelPath: folder.appendingPathComponent(name).path, sessionOptions: nil)
        }
        encoder = try open("models/encoder.int8.ort")
        decoder = try open("models/decoder.fp32.ort")
    }

    func encode(_ items: Items, quality: UInt8) throws -> Data {
        let input = try tensor(items.bytes, .uInt8, items.shape)
        let level = try tensor(Data([quality]), .uInt8, [])
        let found = try encoder.run(withInputs: ["input": input, "quality": level], outputNames: ["packet"], runOptions: nil)
        return try bytes(found["packet"]!)
    }

    /// Throws a PacketError for what is no packet of this codec, or damaged.
    func decode(_ packet: Data) throws -> Items {
        let input = try tensor(packet, .uInt8, [packet.count])
        let found = try decoder.run(withInputs: ["packet": input], outputNames: ["output", "status"], runOptions: nil)
        let status = try bytes(found["status"]!).withUnsafeBytes { $0.loadUnaligned(as: Int64.self) }
        guard status == 0 else { throw PacketError(status: status) }
        let output = found["output"]!
        return Items(bytes: try bytes(output), shape: try output.tensorTypeAndShapeInfo().shape.map { $0.intValue })
    }

    private func tensor(_ bytes: Data, _ type: ORTTensorElementDataType, _ shape: [Int]) throws -> ORTValue {
        let lengths = shape.map { NSNumber(value: $0) }
        return try ORTValue(tensorData: NSMutableData(data: bytes), elementType: type, shape: lengths)
    }

    /// A copy: what `tensorData` returns may lie in the value's own memory, and goes with it.
    private func bytes(_ value: ORTValue) throws -> Data {
        let data = try value.tensorData()
        return withExtendedLifetime(value) { Data(bytes: data.bytes, count: data.length) }
    }
}
