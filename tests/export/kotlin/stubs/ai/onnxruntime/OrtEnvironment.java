package ai.onnxruntime;

public final class OrtEnvironment implements AutoCloseable {
    private static final OrtEnvironment ONLY = new OrtEnvironment();

    public static OrtEnvironment getEnvironment() { return ONLY; }

    public OrtSession createSession(byte[] model) throws OrtException { return new OrtSession(model); }

    public OrtSession createSession(byte[] model, OrtSession.SessionOptions options) throws OrtException {
        return new OrtSession(model);
    }

    @Override
    public void close() {}
}
