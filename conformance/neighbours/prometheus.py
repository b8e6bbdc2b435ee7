def run(outcome, certificates, runtime):
    pass
