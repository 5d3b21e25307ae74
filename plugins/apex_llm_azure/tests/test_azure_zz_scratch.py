import pytest
def test_a(azure):
    c=azure.client()
    assert c.chat().message.text=="Hello there"
    assert c.stream("Hello you").text=="Hello you"
    assert c.stream("Hello you").finish_reason=="stop"
    assert c.connections_in_use==0
    azure.quiet()
@pytest.mark.parametrize("by",["key","entra"])
@pytest.mark.parametrize("surface",["v1","dated"])
def test_b(azure,surface,by):
    c=azure.client(surface=surface,by=by)
    assert c.chat().message.text=="Hello there"
    assert len(c.embed(["a","b"]).embeddings)==2
    assert c.image().media_type=="image/png"
    print(azure.emulator.entra.calls)
