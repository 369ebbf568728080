"""What each score of ``jobs.evaluate`` means, in a line, for readers who do not have them all at hand."""

from __future__ import annotations

from gem_ray.evaluation.evaluation_tables import SCORE_NAMES

MEANINGS = {
    "mig": "gap in information between the two latents that tell most of a factor; 1 is best",
    "dci_disentanglement": "a latent tells of one factor only; 1 is best",
    "dci_completeness": "a factor is told by one latent only; 1 is best",
    "dci_informativeness_test": "factors can be predicted from the code: accuracy on test points, 1 is best",
    "factor_vae": "which factor was held fixed shows in the latent that varies least: accuracy, 1 is best",
    "beta_vae": "which factor two images share shows in the difference of their codes: accuracy, 1 is best",
    "sap": "gap in accuracy between the two latents that predict a factor best; higher is better",
    "sap_continuous": "the same by squared correlation, of factors as they are; higher is better",
    "modularity": "information of a latent belongs to one factor; 1 is best",
    "explicitness": "factors can be read off by a linear classifier: AUROC, .5 is chance",
    "irs": "a latent stays put while other factors change; 1 is best",
    "tad": "lead of the best latent over the next in telling a labelled attribute, summed; higher is better",
    "tad_captured": "how many labelled attributes some latent tells at all",
    "total_correlation": "what latents share among all, were they Gaussian; 0 is none, needs no labels",
    "wasserstein_share": "distance to independent latents, per unit of their variance; 0 is none, needs no labels",
    "pairwise_information": "what two latents share on average; 0 is none, needs no labels",
}


def meaning(label: str) -> str:
    """The line for a score by its name in the tables; empty for one without."""
    key = next((key for key, name in SCORE_NAMES.items() if name == label), "")
    return MEANINGS.get(key, "")
