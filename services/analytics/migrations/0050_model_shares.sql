-- The models' own shares of each artifact, and the artifact that the policy's shares were made for.
alter table learning_expectations add column share double precision;
alter table learning_state add column shares_of text not null default '';
